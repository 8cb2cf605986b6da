# The operator and its workers: one static program, a bundle of certificate authorities, nothing else.
# `make image` builds the last stage without a Docker engine; the commands of the first are in .ci/image for both.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN .ci/image program published /

FROM scratch AS runtime
ARG VERSION=dev
ARG REVISION
LABEL org.opencontainers.image.title="fileupload-operator" \
      org.opencontainers.image.description="Uploads files from PVCs and ConfigMaps to Cyberun and keeps their file_key in a Kubernetes status." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /dist/ /
# Numeric, or a kubelet could not tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/fileupload"]
