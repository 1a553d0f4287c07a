"""OpenCV, set up once: one thread and no OpenCL, because Ray already runs one process per core."""

import cv2

cv2.setNumThreads(1)
cv2.ocl.setUseOpenCL(False)

__all__ = ["cv2"]
