// Command runtime-wrapper is an OCI runtime that lets `docker run --privileged`
// work on a host without CAP_SYS_RESOURCE: it takes that capability out of what
// a container asks for, and leaves everything else to runc. Tools that cannot
// do without --privileged, such as kind, run there with it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const unavailable = "CAP_SYS_RESOURCE"

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "runtime-wrapper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	file, process := specification(args[1:])
	if file != "" {
		if err := withoutCapability(file, process); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{runc}, args[1:]...), os.Environ())
}

// specification finds the file that tells what a new process may do: a whole
// container's, whose process is one field, or the process itself.
func specification(args []string) (file string, process []string) {
	switch {
	case slices.Contains(args, "create") || slices.Contains(args, "run"):
		return filepath.Join(option(args, "--bundle", "-b"), "config.json"), []string{"process"}
	case slices.Contains(args, "exec"):
		return option(args, "--process", "-p"), nil
	}
	return "", nil
}

func option(args []string, names ...string) string {
	for at, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		switch {
		case !slices.Contains(names, name):
		case joined:
			return value
		case at+1 < len(args):
			return args[at+1]
		}
	}
	return ""
}

func withoutCapability(file string, path []string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var document map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.UseNumber() // device and limit numbers do not fit a float
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	process := document
	for _, field := range path {
		process, _ = process[field].(map[string]any)
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, value := range sets {
		if list, ok := value.([]any); ok {
			sets[name] = slices.DeleteFunc(list, func(c any) bool { return c == unavailable })
		}
	}
	changed, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(file, changed, 0o600)
}
