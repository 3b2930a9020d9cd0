# docker buildx bake: the image for amd64 and arm64. Push it with `docker buildx bake --push`; a list of what is in it and
# the provenance are attached. Variables are read from the environment.

variable "IMAGE" { default = "dialer" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "" }
variable "PYTHON" { default = "python:3.13.16-slim-trixie" }

target "default" {
  context    = "."
  dockerfile = "worker.Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = ["${IMAGE}:${VERSION}"]
  args       = { PYTHON = PYTHON, VERSION = VERSION, REVISION = REVISION }
  attest     = ["type=sbom", "type=provenance,mode=max"]
}
