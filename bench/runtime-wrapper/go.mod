module mayfly.io/bench/runtime-wrapper

go 1.26.0
