package rollback

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// protobufPrefix begins every stored value that is not JSON:
// k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
var protobufPrefix = []byte("k8s\x00")

// Fields of every built-in object, by its .proto.
const (
	metadataField = 1
	specField     = 2
	statusField   = 3
)

var errNotProtobuf = errors.New("not stored as protobuf")

// message is the object inside a stored value.
func message(value []byte) (runtime.Unknown, error) {
	stored, isProtobuf := bytes.CutPrefix(value, protobufPrefix)
	if !isProtobuf {
		return runtime.Unknown{}, errNotProtobuf
	}
	var envelope runtime.Unknown
	err := envelope.Unmarshal(stored)
	return envelope, err
}

// stored is the opposite of message.
func stored(envelope runtime.Unknown, raw []byte) ([]byte, error) {
	envelope.Raw = raw
	wrapped, err := envelope.Marshal()
	return append(bytes.Clone(protobufPrefix), wrapped...), err
}

// decode reads a stored object. What is decoded is never written back.
func decode(value []byte, into interface{ Unmarshal([]byte) error }) error {
	envelope, err := message(value)
	if errors.Is(err, errNotProtobuf) {
		return json.Unmarshal(value, into)
	}
	if err != nil {
		return err
	}
	return into.Unmarshal(envelope.Raw)
}

// metadataOf reads the metadata of any stored object: it is where it is in all.
func metadataOf(value []byte) (metav1.ObjectMeta, error) {
	var object metav1.PartialObjectMetadata
	err := decode(value, &object)
	return object.ObjectMeta, err
}

// sameMetadata compares what a user can set; the rest follows from that, or
// changes with every status that a node writes.
func sameMetadata(one, other metav1.ObjectMeta) bool {
	return one.UID == other.UID && maps.Equal(one.Labels, other.Labels) &&
		maps.Equal(one.Annotations, other.Annotations) && slices.Equal(one.Finalizers, other.Finalizers) &&
		slices.EqualFunc(one.OwnerReferences, other.OwnerReferences, func(a, b metav1.OwnerReference) bool {
			return a.UID == b.UID && a.Name == b.Name
		}) && (one.DeletionTimestamp == nil) == (other.DeletionTimestamp == nil)
}

// field is one field of a protobuf message with its tag, as it is encoded.
type field struct {
	number  protowire.Number
	encoded []byte
}

// fieldsOf splits a message. Objects are cut and joined in this form, and never
// decoded as a whole: fields that this program does not know have to survive.
func fieldsOf(raw []byte) ([]field, error) {
	var fields []field
	for len(raw) > 0 {
		number, _, length := protowire.ConsumeField(raw)
		if length < 0 {
			return nil, protowire.ParseError(length)
		}
		fields = append(fields, field{number, raw[:length]})
		raw = raw[length:]
	}
	return fields, nil
}

// content is what a field of bytes holds.
func (f field) content() []byte {
	_, _, tag := protowire.ConsumeTag(f.encoded)
	content, _ := protowire.ConsumeBytes(f.encoded[tag:])
	return content
}

func bytesField(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// parts are the three fields of a stored object.
type parts struct {
	envelope               runtime.Unknown
	metadata, spec, status []byte
}

func partsOf(value []byte) (parts, error) {
	envelope, err := message(value)
	if err != nil {
		return parts{}, err
	}
	fields, err := fieldsOf(envelope.Raw)
	p := parts{envelope: envelope}
	for _, f := range fields {
		switch f.number {
		case metadataField:
			p.metadata = f.content()
		case specField:
			p.spec = f.content()
		case statusField:
			p.status = f.content()
		}
	}
	return p, err
}

func (p parts) stored() ([]byte, error) {
	return stored(p.envelope, slices.Concat(
		bytesField(metadataField, p.metadata), bytesField(specField, p.spec), bytesField(statusField, p.status)))
}

// withStatus are the built-in kinds whose third field is their status.
var withStatus = []string{
	"/registry/controllers/", "/registry/cronjobs/", "/registry/daemonsets/", "/registry/deployments/",
	"/registry/flowschemas/", "/registry/horizontalpodautoscalers/", "/registry/ingress/", "/registry/jobs/",
	"/registry/namespaces/", "/registry/persistentvolumeclaims/", "/registry/persistentvolumes/",
	"/registry/poddisruptionbudgets/", "/registry/prioritylevelconfigurations/", "/registry/replicasets/",
	"/registry/resourcequotas/", "/registry/servicecidrs/", "/registry/services/specs/", "/registry/statefulsets/",
}

// sameButStatus tells whether two values of a key differ in nothing but what
// controllers make of the rest, and bring up to date themselves.
func sameButStatus(key string, saved, current []byte) bool {
	wasMeta, err := metadataOf(saved)
	if err != nil {
		return false
	}
	isMeta, err := metadataOf(current)
	if err != nil || !sameMetadata(wasMeta, isMeta) {
		return false
	}
	was, wasErr := message(saved)
	is, isErr := message(current)
	if errors.Is(wasErr, errNotProtobuf) && errors.Is(isErr, errNotProtobuf) {
		return sameJSONButStatus(saved, current)
	}
	if wasErr != nil || isErr != nil || !slices.ContainsFunc(withStatus, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
		return false
	}
	return bytes.Equal(essence(was.Raw), essence(is.Raw))
}

// essence is a message without metadata and status.
func essence(raw []byte) []byte {
	fields, err := fieldsOf(raw)
	if err != nil {
		return raw
	}
	var rest []byte
	for _, f := range fields {
		if f.number != metadataField && f.number != statusField {
			rest = append(rest, f.encoded...)
		}
	}
	return rest
}

func sameJSONButStatus(saved, current []byte) bool {
	var was, is map[string]any
	if json.Unmarshal(saved, &was) != nil || json.Unmarshal(current, &is) != nil {
		return false
	}
	for _, object := range []map[string]any{was, is} {
		delete(object, "metadata")
		delete(object, "status")
	}
	return reflect.DeepEqual(was, is)
}
