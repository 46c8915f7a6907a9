"""One function per command: settings are checked, work is planned, done and returned.

A job's settings are declared once, as fields; the command line is made from them, and the
functions of the package's public face are these jobs called with settings as arguments.
"""
