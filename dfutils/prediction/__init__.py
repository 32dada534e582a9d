"""The one path from a video or an image to a verdict."""
