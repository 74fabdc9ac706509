"""Reading of image files, bytes and Pillow images as 8-bit RGB."""
