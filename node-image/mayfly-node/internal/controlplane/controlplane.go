// Package controlplane runs etcd, the API server and the controller manager as
// plain processes of a container: without a kubelet, a container runtime, an init
// system, or any right that other containers do not have.
package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"mayfly.io/node-image/mayfly-node/internal/entrypoint"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
	"sigs.k8s.io/yaml"
)

const (
	// layerPrograms finds programs that a node has only as part of an image.
	layerPrograms = "/usr/share/mayfly/layers/*/usr/local/bin/"
	// pause is how long a component that ended stays down.
	pause = 200 * time.Millisecond
	// grace is how long components may take to end when they are asked to.
	grace = 5 * time.Second
)

// components are the static pods that are run. No pod is ever scheduled.
var components = []string{"etcd", "kube-apiserver", "kube-controller-manager"}

// Run makes this container what its document says, and runs the control plane
// until it is asked to end. The components wait for one another by themselves.
func Run(ctx context.Context, _ []string) error {
	log.SetFlags(log.Lmicroseconds)
	if err := entrypoint.RestoreState(ctx); err != nil {
		return fmt.Errorf("restore the control plane's state: %w", err)
	}
	programs := make([]program, len(components))
	for i, name := range components {
		program, err := programOf(filepath.Join(staticpods.ManifestDir, name+".yaml"))
		if err != nil {
			return err
		}
		programs[i] = program
	}
	var running sync.WaitGroup
	for i, name := range components {
		running.Go(func() { keepRunning(ctx, name, programs[i]) })
	}
	running.Wait()
	return nil
}

// program is what a component runs.
type program struct {
	command []string
	// environment has NAME=VALUE, beside what this container has.
	environment []string
}

// programOf reads what a static pod's only container runs, and finds it.
func programOf(manifest string) (program, error) {
	raw, err := os.ReadFile(manifest)
	if err != nil {
		return program{}, err
	}
	pod := corev1.Pod{}
	if err := yaml.Unmarshal(raw, &pod); err != nil {
		return program{}, fmt.Errorf("%s: %w", manifest, err)
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.Containers[0].Command) == 0 {
		return program{}, fmt.Errorf("%s has no container with a command", manifest)
	}
	container := pod.Spec.Containers[0]
	command := append(container.Command, container.Args...)
	path, err := programNamed(command[0])
	if err != nil {
		return program{}, fmt.Errorf("%s: %w", manifest, err)
	}
	found := program{command: append([]string{path}, command[1:]...)}
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			found.environment = append(found.environment, variable.Name+"="+variable.Value)
		}
	}
	return found, nil
}

func programNamed(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(layerPrograms + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("this node image has no program %s that can be run outside of a pod", name)
	}
	return found[0], nil
}

// keepRunning runs a component, again whenever it ends, until the context does.
func keepRunning(ctx context.Context, name string, program program) {
	for ctx.Err() == nil {
		err := runOnce(ctx, name, program)
		if ctx.Err() != nil {
			return
		}
		log.Printf("%s ended: %v", name, err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func runOnce(ctx context.Context, name string, program program) error {
	process := exec.CommandContext(ctx, program.command[0], program.command[1:]...)
	process.Env = append(os.Environ(), program.environment...)
	process.Cancel = func() error { return process.Process.Signal(os.Interrupt) }
	process.WaitDelay = grace
	output, input := io.Pipe()
	process.Stdout, process.Stderr = input, input
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyLines(name, output)
	}()
	err := process.Run()
	input.Close()
	<-done
	return err
}

// copyLines says of each line whose it is. One that is too long comes in pieces.
func copyLines(name string, from io.Reader) {
	lines := bufio.NewReaderSize(from, 1<<16)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		fmt.Fprintf(os.Stdout, "%s: %s\n", name, line)
	}
}
