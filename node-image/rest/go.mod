module mayfly.io/node-image/rest

go 1.26.0
