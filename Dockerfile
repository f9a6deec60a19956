# Tidegate with tshark, as a user without privileges. docs/container.md says how to run it.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
# clang and libbpf's headers compile the gate's program, the rest librdkafka.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        clang g++ libbpf-dev libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release --locked --bin tidegate

FROM docker.io/library/debian:bookworm-slim
# tshark brings dumpcap and editcap; setpriv is util-linux, which Debian always has. Nothing of it needs to
# be setuid, so nothing is.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates libssl3 tshark zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && useradd --system --uid 10001 --user-group --home-dir /nonexistent --no-create-home \
        --shell /usr/sbin/nologin tidegate \
    && install --directory --mode 0755 /etc/tidegate \
    && install --directory --mode 0700 --owner tidegate --group tidegate /var/lib/tidegate \
    && install --directory --mode 0750 --owner tidegate --group tidegate /var/log/tidegate
COPY LICENSE /usr/share/doc/tidegate/copyright
COPY --from=build /src/target/release/tidegate /usr/local/bin/tidegate
# A number: Kubernetes' runAsNonRoot does not look into the image for names.
USER 10001:10001
VOLUME /var/lib/tidegate
ENTRYPOINT ["tidegate"]
CMD ["run", "-c", "/etc/tidegate/tidegate.yaml"]
