// Command etcd is etcd as it is released, except that it gives back memory while
// it is at rest.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"mayfly.io/node-image/rest"
)

func main() {
	rest.GiveBackMemory()
	etcdmain.Main(os.Args)
}
