module mayfly.io/node-image/mayfly-node

go 1.26
