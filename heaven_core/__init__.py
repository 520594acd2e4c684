"""The kernel of HeavenBase: what a workspace is, without any engine.

Read it in this order: `types` and `ops` (the vocabulary), `entity` and `schema`
(what is declared), `placement` (where it lies), `handlers` and `registry` (who
can do what), `backend` (the seam to engines), `query` and `plan` (questions),
`batch` and `access` (writes and reads), `core` and `workspace` (the whole),
`plugin`, `discovery`, `hooks` and `activation` (everybody else).

The kernel knows no engine, no extension and not the face `heavenbase`.
"""
