"""Bytes on their way to object stores: what is sent, in which order, and how."""
