"""An atlas on a port: the application, its screens, and what guards it."""
