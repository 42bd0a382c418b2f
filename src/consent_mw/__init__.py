"""The server keeps the promises that a privacy policy makes."""
