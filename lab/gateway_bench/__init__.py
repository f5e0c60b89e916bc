"""What lab/bench_gateway.py is made of: a mock upstream and a load in C, the servers, rounds, the report."""
