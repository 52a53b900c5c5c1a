package apigate

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel's queue of packets for programs: linux/netfilter/nfnetlink_queue.h.
const (
	queueSubsystem = 3 << 8 // NFNL_SUBSYS_QUEUE
	messagePacket  = queueSubsystem | 0
	messageVerdict = queueSubsystem | 1
	messageConfig  = queueSubsystem | 2
	configCommand  = 1 // NFQA_CFG_CMD
	configParams   = 2 // NFQA_CFG_PARAMS
	commandBind    = 1
	copyMetadata   = 1
	packetHeader   = 1 // NFQA_PACKET_HDR
	verdictHeader  = 2 // NFQA_VERDICT_HDR
	accept         = 1 // NF_ACCEPT
)

// queue holds packets until it is told to let them go. Those that it still
// holds when it is closed are dropped, and sent again by whoever sent them.
type queue struct {
	socket *nl.NetlinkSocket
	number uint16
}

func openQueue(number uint16) (*queue, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	q := &queue{socket: socket, number: number}
	for _, attribute := range []*nl.RtAttr{
		nl.NewRtAttr(configCommand, []byte{commandBind, 0, 0, 0}),
		nl.NewRtAttr(configParams, []byte{0, 0, 0, 0, copyMetadata}),
	} {
		if err := q.send(messageConfig, attribute); err != nil {
			socket.Close()
			return nil, err
		}
	}
	return q, nil
}

func (q *queue) send(message int, attribute *nl.RtAttr) error {
	request := nl.NewNetlinkRequest(message, unix.NLM_F_REQUEST)
	number := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, q.number))
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, ResId: number})
	request.AddData(attribute)
	return q.socket.Send(request)
}

// receive waits for packets and holds them, until the queue is closed.
func (q *queue) receive() ([]uint32, error) {
	messages, _, err := q.socket.Receive()
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for _, message := range messages {
		switch message.Header.Type {
		case unix.NLMSG_ERROR:
			if code := int32(binary.NativeEndian.Uint32(message.Data)); code != 0 {
				return nil, fmt.Errorf("netfilter queue %d: %w", q.number, unix.Errno(-code))
			}
		case messagePacket:
			attributes, err := nl.ParseRouteAttr(message.Data[4:])
			if err != nil {
				return nil, err
			}
			for _, attribute := range attributes {
				if attribute.Attr.Type == packetHeader {
					ids = append(ids, binary.BigEndian.Uint32(attribute.Value))
				}
			}
		}
	}
	return ids, nil
}

// release lets a packet go on its way.
func (q *queue) release(id uint32) error {
	verdict := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, accept), id)
	return q.send(messageVerdict, nl.NewRtAttr(verdictHeader, verdict))
}

func (q *queue) close() { q.socket.Close() }
