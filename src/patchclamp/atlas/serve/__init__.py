"""The application, its screens, and what guards it."""
