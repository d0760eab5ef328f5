"""Pictures of masks and meshes, mesh files, and the HTML report. Arrays in, arrays or files out."""
