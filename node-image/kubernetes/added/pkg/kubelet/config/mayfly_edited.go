// Package config is a part of Kubernetes' package of that name: the build of the
// node image puts this file beside common.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// The control plane's pods run before the kubelet does, which finds them by the UIDs
// in their manifests. A UID says nothing of what the manifest says otherwise: as long as
// it is the same the kubelet restarts nothing, whatever somebody has edited. So it
// counts for the content that it was given with. With any other the kubelet derives a
// UID of the content, as it does for every static pod.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// recordedManifests has a file for each manifest, of the same name, with the SHA-256 of
// every content for which its UID counts. The twin, which writes it, is in
// node-image/mayfly-node/internal/staticpods/manifests.go.
var recordedManifests = "/mayfly/manifests"

// countingUID is the UID that stands in a manifest; none if it was given with another content.
func countingUID(uid types.UID, source string, isFile bool) types.UID {
	if uid == "" || !isFile {
		return uid
	}
	recorded, err := os.ReadFile(filepath.Join(recordedManifests, filepath.Base(source)))
	if err != nil {
		return uid
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return uid
	}
	sum := sha256.Sum256(content)
	if slices.Contains(strings.Fields(string(recorded)), hex.EncodeToString(sum[:])) {
		return uid
	}
	return ""
}
