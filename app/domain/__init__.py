"""The clinic's rules as pure functions: plain values in, plain values out.

Nothing here reads a database, a clock or a request. Rules that depend on the
present receive `now`; rules that an operator may change are data, in
`app/instruments` and `app/rules`, and carry the dates and source they rest on.
"""
