# syntax=docker/dockerfile:1
# What builds does not ship. Pinned by version; pin the digest in your own registry.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
ENV CI=true
COPY package.json package-lock.json .npmrc ./
COPY tools ./tools
COPY codegen.ts prisma.config.ts tsconfig.json schema.graphql ./
COPY prisma ./prisma
COPY src ./src
# The lock file decides every version; the install's last step writes src/generated. What runs is put together by name.
RUN npm ci && node tools/image.ts /production production && node tools/image.ts /sandbox sandbox

FROM node:24.21.0-bookworm-slim AS runtime
ENV NODE_ENV=production
WORKDIR /app
RUN mkdir /data && chown node:node /data
ENV GUICHET_DATA_DIR=/data HOST=0.0.0.0
USER node
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=5 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 4000) + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/main.ts"]

# The sandbox with its banks, for docker-compose.yml: --target sandbox.
FROM runtime AS sandbox
COPY --from=build --chown=root:root /sandbox ./

# What is built where no target is named. It holds no sandbox.
FROM runtime AS production
COPY --from=build --chown=root:root /production ./
