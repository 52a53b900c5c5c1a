// Package multicall runs one of the programs that a file is, as busybox does.
package multicall

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Programs has the main function of each program by its name.
type Programs map[string]func()

// Named returns the name under which this process was started. It ends the process
// where none of the programs is called so.
func (programs Programs) Named() string {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil {
		names := slices.Sorted(maps.Keys(programs))
		fmt.Fprintf(os.Stderr, "kubernetes: no component is called %q; link this file as one of: %s\n", name, strings.Join(names, ", "))
		os.Exit(64)
	}
	return name
}
