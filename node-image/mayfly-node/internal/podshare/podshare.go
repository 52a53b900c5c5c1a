// Package podshare decides how much of a node's processor time its pods get when
// there is not enough for all.
package podshare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// What the kernel gives every cgroup (cgroup v1: cpu.shares, v2: cpu.weight), and
// what one gets that comes first.
const (
	usualShares, firstShares = 1024, 8192
	usualWeight, firstWeight = 100, 800
)

// First has pods come before the node's containerd and kubelet. That is right
// while these can only wait for the API server, which starts in a pod.
func First() error { return set("/sys/fs/cgroup", firstShares, firstWeight) }

// Usual has pods and the rest of the node share alike again.
func Usual() error { return set("/sys/fs/cgroup", usualShares, usualWeight) }

// set writes to the cgroup of all pods, in whichever hierarchy there is.
func set(root string, shares, weight int) error {
	err := write(filepath.Join(root, "kubelet/cpu.weight"), weight)
	if errors.Is(err, fs.ErrNotExist) {
		err = write(filepath.Join(root, "cpu/kubelet/cpu.shares"), shares)
	}
	return err
}

func write(file string, value int) error {
	// Without O_CREATE: a file that the kernel does not have is not made.
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(value))
	return errors.Join(err, f.Close())
}
