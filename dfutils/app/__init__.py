"""The web page: upload a video, follow its examination, understand the verdict."""
