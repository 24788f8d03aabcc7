"""The application's end: it finds a hub, or starts one, and speaks to it."""
