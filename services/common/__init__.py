"""What every service needs besides its own work and its telemetry: settings and a web server."""

VERSION = "0.1.0"
