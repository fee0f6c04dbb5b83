# Gatehouse as a static binary on an empty image, as a user without rights.
#
#   docker build -t gatehouse:dev .
#   docker run -p 8080:8080 -v ./gatehouse.yaml:/etc/gatehouse/gatehouse.yaml:ro -v gatehouse-state:/var/lib/gatehouse gatehouse:dev

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/gatehouse ./cmd/gatehouse
RUN mkdir -p /out/state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/gatehouse /usr/bin/gatehouse
COPY --from=build --chown=65532:65532 --chmod=0700 /out/state /var/lib/gatehouse
COPY LICENSE /LICENSE
USER 65532:65532
VOLUME /var/lib/gatehouse
EXPOSE 8080
ENV GATEHOUSE_CONFIG=/etc/gatehouse/gatehouse.yaml
# With TLS or another port, set GATEHOUSE_HEALTH_URL, such as https://127.0.0.1:8443.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/usr/bin/gatehouse", "healthcheck"]
ENTRYPOINT ["/usr/bin/gatehouse"]
CMD ["serve"]
