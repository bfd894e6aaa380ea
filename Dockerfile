# Cervella with Postgres' driver, sentence-transformers and its model inside: once built, it needs no network.
FROM python:3.12-slim

# On x86 the package index gives torch with CUDA, several gigabytes; the address of the CPU wheels, which
# pytorch.org gives on its installation page, avoids that (docs/stack.md).
ARG TORCH_INDEX=""
ARG EMBEDDER=intfloat/multilingual-e5-base

RUN useradd --uid 10001 --create-home cervella \
    && install --directory --owner cervella /data /models

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cervella_rag ./cervella_rag
COPY prompts ./prompts
COPY knowledge ./knowledge
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[postgres,sentence-transformers]"

USER cervella
ENV CERVELLA_HOME=/data HF_HOME=/models
RUN python -c "import sys; from sentence_transformers import SentenceTransformer; SentenceTransformer(sys.argv[1])" \
    "$EMBEDDER"
ENV HF_HUB_OFFLINE=1

VOLUME /data
EXPOSE 8000
CMD ["cervella", "serve"]
