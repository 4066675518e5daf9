import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs commands of mqadmin one after the other in one JVM: a line of standard input is a command, its words separated by
 * tabs. Its output follows, and then a line "END".
 */
public class Admin {
    public static void main(String[] args) throws Exception {
        PrintStream real = System.out;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            PrintStream captured = new PrintStream(bytes, true, "UTF-8");
            System.setOut(captured);
            System.setErr(captured);
            MQAdminStartup.main0(line.split("\t"), null);
            System.setOut(real);
            real.println(new String(bytes.toByteArray(), StandardCharsets.UTF_8));
            real.println("END");
            real.flush();
        }
        System.exit(0);
    }
}
