"""dpnp, Intel's NumPy for SYCL devices, as a backend of arrayformer."""

from collections.abc import Sequence

import dpctl
import dpnp
import numpy as np

from arrayformer import hookimpl
from arrayformer.core.array_api import Array
from arrayformer.core.backend import Backend
from arrayformer.core.errors import BackendError
from arrayformer.core.plugins.hooks import RegisterBackend


class DpnpBackend(Backend):
    """dpnp on the device that SYCL takes by itself: a GPU, or else the CPU."""

    name = "dpnp"
    library = "dpnp"
    xp = dpnp
    dtypes = ("float32",)

    def devices(self) -> Sequence[str]:
        """Its filter string, like `opencl:cpu:0`. Raises BackendError where SYCL finds none."""
        try:
            return (dpctl.select_default_device().filter_string,)
        except dpctl.SyclDeviceCreationError as error:
            raise BackendError(f"backend 'dpnp': no SYCL device: {error} `python -m dpctl -f` lists them") from error

    def asarray(self, host: np.ndarray, dtype: str | None = None) -> Array:
        """A copy of `host`; dpnp 0.20.0 takes the bytes of a big-endian array as they are."""
        return super().asarray(host.astype(host.dtype.newbyteorder("=")), dtype)

    def to_numpy(self, x: Array) -> np.ndarray:
        """`x` on the host; dpnp refuses to become a NumPy array unasked."""
        return np.array(dpnp.asnumpy(x))


@hookimpl
def register_backends(register: RegisterBackend) -> None:
    """Offer the backend under the name of the entry point."""
    register("dpnp", DpnpBackend)
