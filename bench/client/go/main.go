// As load.cc, with the published Go client.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const inFlight = 256

var (
	client rocketmq.Producer
	topic  string
	body   []byte
	failed int64
)

func cpu() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func oneByOne(end time.Time) (sent int64) {
	for ; time.Now().Before(end); sent++ {
		if _, err := client.SendSync(context.Background(), primitive.NewMessage(topic, body)); err != nil {
			atomic.AddInt64(&failed, 1)
		}
	}
	return sent
}

func eightThreads(end time.Time) int64 {
	var sent int64
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			atomic.AddInt64(&sent, oneByOne(end))
		}()
	}
	all.Wait()
	return sent
}

func manyInFlight(end time.Time) (sent int64) {
	room := make(chan struct{}, inFlight)
	for ; time.Now().Before(end); sent++ {
		room <- struct{}{}
		err := client.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
			if err != nil {
				atomic.AddInt64(&failed, 1)
			}
			<-room
		}, primitive.NewMessage(topic, body))
		if err != nil {
			atomic.AddInt64(&failed, 1)
			<-room
		}
	}
	for i := 0; i < inFlight; i++ {
		room <- struct{}{}
	}
	return sent
}

func run(mode string, seconds float64) int64 {
	end := time.Now().Add(time.Duration(seconds * 1e9))
	switch mode {
	case "sync":
		return oneByOne(end)
	case "sync8":
		return eightThreads(end)
	}
	return manyInFlight(end)
}

func main() {
	rlog.SetLogLevel("fatal")
	made, err := rocketmq.NewProducer(producer.WithNsResolver(primitive.NewPassthroughResolver([]string{os.Args[1]})), producer.WithGroupName("load"),
		producer.WithCompressMsgBodyOverHowmuch(64<<20))
	if err == nil {
		err = made.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client, topic = made, os.Args[2]
	size, _ := strconv.Atoi(os.Args[3])
	body = []byte(strings.Repeat("x", size))
	seconds, _ := strconv.ParseFloat(os.Args[4], 64)
	warm := 1.0
	if len(os.Args) > 6 {
		warm, _ = strconv.ParseFloat(os.Args[6], 64)
	}
	run(os.Args[5], warm)
	failed = 0
	before, began := cpu(), time.Now()
	sent := run(os.Args[5], seconds)
	took := time.Since(began).Seconds()
	fmt.Printf("{\"messages\": %d, \"failed\": %d, \"a_second\": %.0f, \"cpu_us\": %.3f}\n", sent, failed, float64(sent)/took, (cpu()-before)/float64(sent)*1e6)
	_ = client.Shutdown()
}
