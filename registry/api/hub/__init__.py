"""The REST API of the hub, `/api/v1`: repositories, accounts and the instance, as programs see them.

`routes` is the table. A route says what it needs, takes and answers; from that the gate lets requests in, `reading`
turns query and body into values, and `openapi` describes all of it. Handlers are in a file a noun, call one service,
and turn what it returns into a model. Names of repositories are written as they are, slashes included; what belongs to
one follows after `/-/`, which no name can hold: `/api/v1/repositories/acme/web/-/tags/latest`.
"""
