"""Writing reports and saved views: what they point to, told anew for another server."""
