"""One family of multimodal models a folder: its tiny model, and how its images become inputs."""
