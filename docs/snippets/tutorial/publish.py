from flask_sse import Publisher

publisher = Publisher("memory://votes")
print(publisher.publish({"tea": 1000, "coffee": 0}, type="votes"))
