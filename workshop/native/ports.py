"""Which ports are taken, and by whom."""

import socket

import psutil


def listens(port: int) -> bool:
    """Tell whether something accepts connections on a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def problem(port: int) -> str:
    """Return why a port of 127.0.0.1 cannot be had, as "is taken by python (pid 123)"; "" if it can."""
    with socket.socket() as probe:
        # As a server does it: connections that were just closed do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return "needs root, as ports below 1024 do"
        except OSError:
            return f"is taken by {holder(port)}"
        return ""


UNKNOWN = "another process"


def holder(port: int) -> str:
    """Return who listens on a port, as "name (pid 123)", or `UNKNOWN` if the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells root only
        return UNKNOWN
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN and connection.laddr
        if listening and listening.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return UNKNOWN
    return UNKNOWN
