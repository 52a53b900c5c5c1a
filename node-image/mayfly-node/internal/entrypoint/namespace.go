package entrypoint

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
)

// protobufPrefix stands before every object that the API server stores in
// protobuf; what follows is a runtime.Unknown with the object inside.
var protobufPrefix = []byte("k8s\x00")

// withFreshUID gives a namespace a UID of this cluster: many tools take the one
// of kube-system for the identity of the whole cluster. All control planes
// have to come to the same UID, so it follows from their common token.
func withFreshUID(entry etcdstate.Entry, token string) (etcdstate.Entry, error) {
	name, isNamespace := strings.CutPrefix(entry.Key, "/registry/namespaces/")
	stored, isProtobuf := bytes.CutPrefix(entry.Value, protobufPrefix)
	if !isNamespace || !isProtobuf {
		return entry, nil
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(stored); err != nil {
		return entry, fmt.Errorf("%s: %w", entry.Key, err)
	}
	var namespace corev1.Namespace
	if err := namespace.Unmarshal(envelope.Raw); err != nil {
		return entry, fmt.Errorf("%s: %w", entry.Key, err)
	}
	namespace.UID = derivedUID(token, name)
	raw, err := namespace.Marshal()
	if err != nil {
		return entry, err
	}
	envelope.Raw = raw
	wrapped, err := envelope.Marshal()
	if err != nil {
		return entry, err
	}
	return etcdstate.Entry{Key: entry.Key, Value: append(bytes.Clone(protobufPrefix), wrapped...)}, nil
}

// derivedUID has the form of a random UUID (RFC 9562, version 8: of our own making).
func derivedUID(token, name string) types.UID {
	sum := sha256.Sum256([]byte(token + "/" + name))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
}
