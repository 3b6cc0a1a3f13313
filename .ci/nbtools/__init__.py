"""Tools for notebooks as files: read their exercises, execute, clean, and say what is wrong with one."""
