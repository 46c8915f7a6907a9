"""Commands and small tools, a class each: its fields are settings, ``run`` does the work.

A job's settings are declared once, as fields; the command line is made from them, and the
functions of the package's public face are these jobs called with settings as arguments.
"""
