"""Cookies on the wire: reading their lines, the gate that judges them, and cookies that wait for an answer."""
