"""Which sizes the suite visits, and which ones real models ask for."""
