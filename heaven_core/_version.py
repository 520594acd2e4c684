"""The version of the distribution; read by the build, imported by nobody at start-up."""

__version__ = "0.1.0"
