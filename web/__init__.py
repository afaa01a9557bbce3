"""The roof: app factory, settings, access, problem documents, pages' layout, commands. Imports every room."""
