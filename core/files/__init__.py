"""Reading what somebody else wrote, and writing files whole."""
