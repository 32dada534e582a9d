"""The web page: upload a video, watch it being looked at, understand the verdict."""
