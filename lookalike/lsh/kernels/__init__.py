"""What numba compiles: the steps of a query, with the results of the NumPy modules of the same names.

Only `loading` and `runner` may be imported before compiled code is wanted; every other module here imports numba.
"""
