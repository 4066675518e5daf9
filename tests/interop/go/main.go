// What a Go application does with the published client. One line a case: CASE, name, PASS or FAIL, milliseconds, detail.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var (
	nameServer, broker string
	run                = time.Now().UnixNano() % 1_000_000_000
	next               int64
)

func fresh(prefix string) string {
	return fmt.Sprintf("%s_%d_%d", prefix, run, atomic.AddInt64(&next, 1))
}

func topic(queues int) string {
	name := fresh("T")
	client, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{nameServer})))
	must(err)
	must(client.CreateTopic(context.Background(), admin.WithTopicCreate(name), admin.WithBrokerAddrCreate(broker), admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	must(client.Close())
	time.Sleep(300 * time.Millisecond) // the broker's registration reaches the name server
	return name
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(good bool, format string, args ...interface{}) {
	if !good {
		panic(fmt.Sprintf(format, args...))
	}
}

func newProducer() rocketmq.Producer {
	p, err := rocketmq.NewProducer(producer.WithNsResolver(primitive.NewPassthroughResolver([]string{nameServer})), producer.WithGroupName(fresh("P")),
		producer.WithInstanceName(fresh("i")), producer.WithRetry(2))
	must(err)
	must(p.Start())
	return p
}

func message(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}

func newConsumer(group string, options ...consumer.Option) rocketmq.PushConsumer {
	all := append([]consumer.Option{consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{nameServer})), consumer.WithGroupName(group),
		consumer.WithInstance(fresh("i")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c, err := rocketmq.NewPushConsumer(all...)
	must(err)
	return c
}

// collect gives the bodies that come until there are enough, or 40 s are over, sorted.
func collect(topic string, selector consumer.MessageSelector, enough func(bodies []string) bool) []string {
	var lock sync.Mutex
	var bodies []string
	c := newConsumer(fresh("G"))
	must(c.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		for _, each := range messages {
			bodies = append(bodies, string(each.Body))
		}
		return consumer.ConsumeSuccess, nil
	}))
	must(c.Start())
	defer c.Shutdown()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		lock.Lock()
		done := enough(bodies)
		lock.Unlock()
		if done {
			break
		}
	}
	lock.Lock()
	defer lock.Unlock()
	sort.Strings(bodies)
	return bodies
}

// receive collects count bodies.
func receive(topic string, selector consumer.MessageSelector, count int) []string {
	bodies := collect(topic, selector, func(bodies []string) bool { return len(bodies) >= count })
	check(len(bodies) == count, "%d messages wanted, %d came", count, len(bodies))
	return bodies
}

func distinct(sorted []string) (all []string) {
	for i, each := range sorted {
		if i == 0 || each != sorted[i-1] {
			all = append(all, each)
		}
	}
	return
}

func numbered(prefix string, count int) (all []string) {
	for i := 0; i < count; i++ {
		all = append(all, fmt.Sprintf("%s%04d", prefix, i))
	}
	return
}

func same(wanted, got []string) {
	check(strings.Join(wanted, ",") == strings.Join(got, ","), "wanted %v, got %v", wanted, got)
}

var cases = []struct {
	name string
	body func()
}{
	{"sync sends arrive once each", func() {
		name := topic(4)
		p := newProducer()
		defer p.Shutdown()
		for _, body := range numbered("s", 30) {
			result, err := p.SendSync(context.Background(), message(name, body))
			must(err)
			check(result.Status == primitive.SendOK, "status %v", result.Status)
		}
		same(numbered("s", 30), receive(name, consumer.MessageSelector{}, 30))
	}},
	{"async sends call back and arrive", func() {
		name := topic(4)
		p := newProducer()
		defer p.Shutdown()
		var done sync.WaitGroup
		var failed int32
		for _, body := range numbered("a", 50) {
			done.Add(1)
			must(p.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
				if err != nil {
					atomic.AddInt32(&failed, 1)
				}
				done.Done()
			}, message(name, body)))
		}
		done.Wait()
		check(failed == 0, "%d sends failed", failed)
		same(numbered("a", 50), receive(name, consumer.MessageSelector{}, 50))
	}},
	{"oneway sends arrive", func() {
		name := topic(4)
		p := newProducer()
		defer p.Shutdown()
		for _, body := range numbered("o", 20) {
			must(p.SendOneWay(context.Background(), message(name, body)))
		}
		same(numbered("o", 20), receive(name, consumer.MessageSelector{}, 20))
	}},
	{"a batch arrives as its messages", func() {
		name := topic(1)
		p := newProducer()
		defer p.Shutdown()
		var batch []*primitive.Message
		for _, body := range numbered("b", 10) {
			batch = append(batch, message(name, body))
		}
		_, err := p.SendSync(context.Background(), batch...)
		must(err)
		same(numbered("b", 10), receive(name, consumer.MessageSelector{}, 10))
	}},
	{"tags choose what a consumer gets", func() {
		name := topic(2)
		p := newProducer()
		defer p.Shutdown()
		for i := 0; i < 30; i++ {
			tag := string("ABC"[i%3])
			_, err := p.SendSync(context.Background(), message(name, fmt.Sprintf("%s%02d", tag, i)).WithTag(tag))
			must(err)
		}
		for _, body := range receive(name, consumer.MessageSelector{Type: consumer.TAG, Expression: "A || C"}, 20) {
			check(body[0] != 'B', "tag B came through")
		}
	}},
	{"a broadcast reaches every consumer", func() {
		name := topic(2)
		group := fresh("G")
		var counts [2]int32
		for i := range counts {
			mine := &counts[i]
			c := newConsumer(group, consumer.WithConsumerModel(consumer.BroadCasting))
			must(c.Subscribe(name, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
				atomic.AddInt32(mine, int32(len(messages)))
				return consumer.ConsumeSuccess, nil
			}))
			must(c.Start())
			defer c.Shutdown()
		}
		p := newProducer()
		defer p.Shutdown()
		time.Sleep(time.Second)
		for _, body := range numbered("x", 10) {
			_, err := p.SendSync(context.Background(), message(name, body))
			must(err)
		}
		for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && (atomic.LoadInt32(&counts[0]) < 10 || atomic.LoadInt32(&counts[1]) < 10); {
			time.Sleep(50 * time.Millisecond)
		}
		check(counts[0] == 10 && counts[1] == 10, "10 each wanted, %v came", counts)
	}},
	{"a failing message comes again", func() {
		name := topic(1)
		p := newProducer()
		defer p.Shutdown()
		_, err := p.SendSync(context.Background(), message(name, "again"))
		must(err)
		var attempts int32
		var times int32 = -1
		c := newConsumer(fresh("G"))
		must(c.Subscribe(name, consumer.MessageSelector{}, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			if atomic.AddInt32(&attempts, 1) == 1 {
				concurrently, _ := primitive.GetConcurrentlyCtx(ctx)
				concurrently.DelayLevelWhenNextConsume = 1
				return consumer.ConsumeRetryLater, nil
			}
			atomic.StoreInt32(&times, messages[0].ReconsumeTimes)
			return consumer.ConsumeSuccess, nil
		}))
		must(c.Start())
		defer c.Shutdown()
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end) && atomic.LoadInt32(&times) < 0; {
			time.Sleep(50 * time.Millisecond)
		}
		check(atomic.LoadInt32(&times) == 1, "reconsumed %d times", atomic.LoadInt32(&times))
	}},
	{"a delay level delays", func() {
		name := topic(1)
		p := newProducer()
		defer p.Shutdown()
		began := time.Now()
		_, err := p.SendSync(context.Background(), message(name, "later").WithDelayTimeLevel(5)) // 3 s here
		must(err)
		same([]string{"later"}, receive(name, consumer.MessageSelector{}, 1))
		check(time.Since(began) > 2500*time.Millisecond, "it came after %v", time.Since(began))
	}},
	{"SQL92 chooses what a consumer gets", func() {
		name := topic(1)
		p := newProducer()
		defer p.Shutdown()
		for i, body := range numbered("s", 10) {
			each := message(name, body)
			each.WithProperty("a", fmt.Sprint(i))
			_, err := p.SendSync(context.Background(), each)
			must(err)
		}
		same([]string{"s0006", "s0007", "s0008"}, receive(name, consumer.MessageSelector{Type: consumer.SQL92, Expression: "a > 5 AND a <> 9"}, 3))
	}},
	{"transactions are committed, rolled back and asked about", func() {
		name := topic(1)
		teller := &teller{}
		p, err := rocketmq.NewTransactionProducer(teller, producer.WithNsResolver(primitive.NewPassthroughResolver([]string{nameServer})), producer.WithGroupName(fresh("P")),
			producer.WithInstanceName(fresh("i")))
		must(err)
		must(p.Start())
		defer p.Shutdown()
		for _, body := range []string{"commit", "rollback", "later"} {
			_, err := p.SendMessageInTransaction(context.Background(), message(name, body))
			must(err)
		}
		// Apache's broker may ask about, and deliver, one twice.
		same([]string{"commit", "later"}, distinct(collect(name, consumer.MessageSelector{}, func(bodies []string) bool {
			return strings.Contains(strings.Join(bodies, ","), "commit") && strings.Contains(strings.Join(bodies, ","), "later")
		})))
		check(atomic.LoadInt32(&teller.asked) >= 1, "nobody asked")
	}},
	{"a question is answered", func() {
		name := topic(1)
		replies, p := newProducer(), newProducer()
		defer replies.Shutdown()
		defer p.Shutdown()
		_, err := p.SendSync(context.Background(), message(name, "makes the asker known to its broker"))
		must(err)
		var ready int32
		c := newConsumer(fresh("G"))
		must(c.Subscribe(name, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			atomic.StoreInt32(&ready, 1)
			for _, each := range messages {
				if each.GetProperty(primitive.PropertyCorrelationID) == "" {
					continue
				}
				reply, err := consumer.CreateReplyMessage(each, nil)
				must(err)
				reply.Body = []byte("answer to " + string(each.Body)) // the client leaves it empty
				_, err = replies.SendSync(context.Background(), reply)
				must(err)
			}
			return consumer.ConsumeSuccess, nil
		}))
		must(c.Start())
		defer c.Shutdown()
		for end := time.Now().Add(40 * time.Second); time.Now().Before(end) && atomic.LoadInt32(&ready) == 0; {
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Second) // its heartbeat tells the broker where answers go
		answer, err := p.Request(context.Background(), 10*time.Second, message(name, "six"))
		must(err)
		check(string(answer.Body) == "answer to six", "it was %q", answer.Body)
	}},
}

// teller says at once what a body says, but of one it says so when it is asked. Apache's broker may ask about what has ended.
type teller struct {
	asked int32
}

func (t *teller) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	switch string(message.Body) {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (t *teller) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	atomic.AddInt32(&t.asked, 1)
	if string(message.Body) == "rollback" {
		return primitive.RollbackMessageState
	}
	return primitive.CommitMessageState
}

func main() {
	rlog.SetLogLevel("error")
	rlog.SetOutputPath(os.DevNull)
	nameServer, broker = os.Args[1], os.Args[2]
	only := ""
	if len(os.Args) > 3 {
		only = os.Args[3]
	}
	for _, each := range cases {
		if !strings.Contains(each.name, only) {
			continue
		}
		began := time.Now()
		result, detail := "PASS", ""
		func() {
			defer func() {
				if problem := recover(); problem != nil {
					result, detail = "FAIL", strings.ReplaceAll(fmt.Sprint(problem), "\n", " ")
				}
			}()
			each.body()
		}()
		fmt.Printf("CASE\t%s\t%s\t%d\t%s\n", each.name, result, time.Since(began).Milliseconds(), detail)
	}
}
