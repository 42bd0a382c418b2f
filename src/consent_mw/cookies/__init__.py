"""Cookies on the wire: lines read, the gate that judges them, and what waits for an answer."""
