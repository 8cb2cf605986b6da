# The operator and its workers: one static program, a bundle of certificate authorities, nothing else.
#
# What it holds is made outside: `.ci/image program PROFILE ROOT`, then
# `docker build --build-context program=ROOT .`. `make image` does both, without a Docker engine.
FROM scratch
ARG VERSION=dev
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="fileupload-operator" \
      org.opencontainers.image.description="Uploads files from PVCs and ConfigMaps to Cyberun and keeps their file_key in a Kubernetes status." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=program / /
# Numeric, or a kubelet could not tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/fileupload"]
